"""What is wrong with this machine: facts are read once, pure checks judge them."""
