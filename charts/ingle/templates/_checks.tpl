{{/* What a schema cannot say: one value against another. */}}
{{- define "ingle.checks" -}}
{{- if ne .Release.Namespace "ingle-system" }}
{{- fail (printf "namespace %s: Ingle's accounts, policies and command look for ingle-system, so install with --namespace ingle-system" .Release.Namespace) }}
{{- end }}
{{- if has "ingle-system" .Values.pools.namespaces }}
{{- fail "pools.namespaces: ingle-system is for Ingle's own processes, so keep pools in another namespace" }}
{{- end }}
{{- $lease := include "ingle.setting" (list . "operator" "lease_duration_s") }}
{{- $renew := include "ingle.setting" (list . "operator" "lease_renew_s") }}
{{- if lt (float64 $lease) (mulf 3 $renew) }}
{{- fail (printf "operator.settings.lease_duration_s (%s) must be at least three times operator.settings.lease_renew_s (%s)" $lease $renew) }}
{{- end }}
{{- $orphan := include "ingle.setting" (list . "operator" "orphan_s") }}
{{- $claim := include "ingle.setting" (list . "scheduler" "claim_renew_s") }}
{{- if gt (mulf 3 $claim) (float64 $orphan) }}
{{- fail (printf "scheduler.settings.claim_renew_s (%s) must be at most a third of operator.settings.orphan_s (%s), or claims are swept while pods are bound" $claim $orphan) }}
{{- end }}
{{- if and (hasKey .Values.agent.settings "zone_seconds") (not .Values.agent.checkZones) }}
{{- fail "agent.settings.zone_seconds: agents look at zones with agent.checkZones=true only" }}
{{- end }}
{{- range $name := list "pod_resources_seconds" "pod_resources_stale_seconds" }}
{{- if and (hasKey $.Values.agent.settings $name) (not $.Values.agent.podResources) }}
{{- fail (printf "agent.settings.%s: agents ask the kubelet with agent.podResources=true only" $name) }}
{{- end }}
{{- end }}
{{- if and .Values.monitoring.serviceMonitor.enabled .Values.networkPolicy.enabled (not .Values.monitoring.namespace) }}
{{- fail "monitoring.namespace: name the namespace of Prometheus, or networkPolicy keeps it from reading metrics" }}
{{- end }}
{{- range .Values.agent.tolerations | concat .Values.operator.tolerations | concat .Values.scheduler.tolerations | concat .Values.gateway.tolerations }}
{{- if and (eq (.operator | default "Equal") "Equal") (not .key) }}
{{- fail "tolerations: a toleration without key needs operator Exists" }}
{{- end }}
{{- if and (eq (.operator | default "Equal") "Exists") .value }}
{{- fail (printf "tolerations: operator Exists of key %s takes no value" (.key | default "(any)")) }}
{{- end }}
{{- end }}
{{- range $part, $names := dict "operator" (list "resources") "scheduler" (list "resources" "kubeSchedulerResources") "gateway" (list "resources" "envoyResources") "agent" (list "resources" "setterResources") }}
{{- range $name := $names }}
{{- include "ingle.checkResources" (dict "path" (printf "%s.%s" $part $name) "resources" (get (get $.Values $part) $name)) }}
{{- end }}
{{- end }}
{{- end }}

{{/* The API server would refuse the pods later on, where nobody looks. Takes {path, resources}. */}}
{{- define "ingle.checkResources" -}}
{{- range $what := list "cpu" "memory" }}
{{- $asked := get ($.resources.requests | default dict) $what }}
{{- $most := get ($.resources.limits | default dict) $what }}
{{- if and $asked $most }}
{{- if gt (include "ingle.amount" $asked | float64) (include "ingle.amount" $most | float64) }}
{{- fail (printf "%s.requests.%s (%s) is more than %s.limits.%s (%s)" $.path $what $asked $.path $what $most) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* A quantity as a number. */}}
{{- define "ingle.amount" -}}
{{- $units := dict "" 1.0 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 }}
{{- mulf (regexFind "^[0-9.]+" .) (get $units (regexFind "[A-Za-z]*$" .)) }}
{{- end }}

{{/* A setting as set, or the process's default. Takes [ctx, part, name]. */}}
{{- define "ingle.setting" -}}
{{- $ctx := index . 0 }}
{{- $part := index . 1 }}
{{- $name := index . 2 }}
{{- $set := get (get $ctx.Values $part) "settings" }}
{{- if hasKey $set $name }}{{ get $set $name }}
{{- else }}{{ get (get ($ctx.Files.Get "files/defaults.yaml" | fromYaml) $part) $name }}
{{- end }}
{{- end }}
