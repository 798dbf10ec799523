"""The commands of `cloud-init`: one file each, imported when the command is used."""
