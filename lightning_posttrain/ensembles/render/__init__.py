"""Pictures and tables of ensembles."""
