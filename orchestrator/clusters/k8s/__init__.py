"""RayJobs of campaigns: rendered, checked, submitted, watched."""
