"""How well `discover` tells what expires: real stores, and applications without any."""
