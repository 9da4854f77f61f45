"""Learning in an audit: networks trained under an audited protocol, and the runs that train them."""
