"""Whether servers and workers are well, and the alerts that tell operators."""
