"""Canvas, plots, numbers: what every picture is drawn with."""
