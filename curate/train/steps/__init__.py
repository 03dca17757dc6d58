"""The steps of a run: which rows form one, its gradient, and the update of the weights."""
