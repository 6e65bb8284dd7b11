"""Tests of graphc; the tables they run over are in `cases_*.py`."""
