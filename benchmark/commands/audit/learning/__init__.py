"""What an audit learns: networks trained under an audited protocol, and the runs that train them."""
