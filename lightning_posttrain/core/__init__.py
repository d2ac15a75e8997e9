"""The ground floor that every wing stands on. It knows no task."""
