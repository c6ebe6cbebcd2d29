"""The live fault suite: random faults on a real deployment while events flow, then a comparison with a recount."""
