"""What people look at: charts, reports, notebooks, the explore page."""
