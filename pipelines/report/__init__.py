"""The morning page: `measuring` asks the views, `saving` writes pages, `statements` has the SQL."""
