"""What is done to a request's JSON before the engine sees it: pure functions."""
