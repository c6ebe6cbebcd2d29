"""`./dev bench peers`: the counting job of this product in other systems, on the same topic in the same run."""
