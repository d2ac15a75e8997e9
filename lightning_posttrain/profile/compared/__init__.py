"""Several runs beside each other: how good each is, and what it costs."""
