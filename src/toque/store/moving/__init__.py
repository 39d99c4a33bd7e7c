"""An app's data on its way: from one database to another (`copy`), into a file and back (`archive`)."""
