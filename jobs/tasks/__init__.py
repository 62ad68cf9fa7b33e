"""The tasks with a head on the encoder, one module each, and the table that names them."""
