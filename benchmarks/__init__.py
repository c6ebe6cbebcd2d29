"""Benchmarks: what the product costs, beside a reference measured in the same run. Ratios travel between machines,
seconds do not.
"""
