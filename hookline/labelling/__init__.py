"""Labels and curves as people have them: in tables, in what YouTube exports, and in public data sets."""
