"""The report as pure folds over the cells: plan, days, fold, then one module a component."""
