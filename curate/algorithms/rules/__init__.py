"""Linear rules over indicators: published or fitted by regression, and how many examples to select by one."""
