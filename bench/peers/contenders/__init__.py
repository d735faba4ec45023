"""The contenders of a comparison. `catalogue` lists them."""
