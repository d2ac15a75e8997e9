"""python -m tests.serving.adapters.serve_litserve PORT"""

import sys

from tests.serving.adapters import stand_in

# at the top: workers import this file too
stand_in.install()

if __name__ == "__main__":
    import litserve

    from lightning_posttrain.serving.adapters.litserve import lit_api

    server = litserve.LitServer(lit_api("folder", max_batch_size=8, batch_timeout=0.05), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
