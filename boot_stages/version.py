"""The version that the guest side reports; a test holds it equal to the distributions' own."""

VERSION = "0.1.0"
