mlencrypt --version
mlencrypt keygen --version
