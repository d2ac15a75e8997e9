"""The evaluation stream: every batch goes through once, whoever asks, and no family is named here."""
