"""Mathematics of ensembles: members' log-probabilities in, combinations, figures and averaged weights out."""
