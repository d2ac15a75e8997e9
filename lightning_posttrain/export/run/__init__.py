"""What an export goes through in a run: rows kept, weights chosen, files made, compared, judged and shipped.

``export_run`` has the state; ``at_fit_end`` and ``on_test`` are its two ends. Both go the same way:

- ``asked_call`` finds how the step asks its network, ``kept_rows`` keeps rows, ``raw_inputs`` undoes normalisation;
- ``weights`` chooses the weights, ``fitted`` what stands behind them, and ``prepared`` joins these into one module;
- ``making`` traces it and writes the files, or, on test, ``earlier`` finds those of a fit, as ``subject`` has it;
- ``trial`` runs them on batches, with ``row_form``, ``figures``, ``input_statistics`` and ``data_seen``;
- ``judged`` decides, and ``shipping`` writes the manifest and what is kept.
"""
