"""The configurations of clients: what each is told of the models that it may ask."""
