"""Values in, text out: units, drop-ins and the list that nginx routes by."""
