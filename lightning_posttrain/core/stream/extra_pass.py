def extra_pass(*a, **k):
    raise NotImplementedError
