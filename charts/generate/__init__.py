"""What of the chart is generated: values, their schema, the table in the README, copies of crds/ and manifests/."""
