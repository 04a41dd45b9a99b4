"""A plugin of bua: a captioner with the attention of Luong et al. (2015), and a metric."""
