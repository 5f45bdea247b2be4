"""What turns data and models into results: training, inference, evaluation, prediction."""
