DROP TABLE service_nonce;
