"""Parity: whether an exported model gives the answers that were tested.

``counts`` compares the answers of two models, ``sums`` adds them up over batches and ranks, ``tolerance`` says what is
allowed, ``batches`` tries sizes and orders of batches, ``apart`` names the first layer that differs, and ``decide``
says whether a format is kept. All but ``apart`` work with NumPy alone.
"""
