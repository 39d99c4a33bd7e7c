"""A restaurant: guests read the menu, waiters place orders, cooks cook them."""
