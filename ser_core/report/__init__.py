"""Pictures and pages made from arrays and tables; nothing here opens a display."""
