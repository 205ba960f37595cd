"""`relay up`: a whole relay on this machine."""
