"""What a candidate's training and episodes show, as findings, signs and one page of text for the next proposal."""
