"""What to try: languages and how related they are, subsets, weights. Imports nothing of the other packages
but `jobs.errors` and `jobs.spec`.
"""
