DROP TABLE identity_flow;
DROP TABLE identity;
