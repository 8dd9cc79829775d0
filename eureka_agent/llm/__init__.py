"""Language models: what they are asked, who answers, what it costs, and what is made of the answer."""
