"""What people look at: charts, reports, notebooks and the explore page."""
