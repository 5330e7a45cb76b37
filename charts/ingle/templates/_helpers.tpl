{{/* Labels of an object. Takes {ctx, component}; component may be missing. */}}
{{- define "ingle.labels" -}}
app.kubernetes.io/name: {{ printf "ingle-%s" .component | trimSuffix "-" }}
app.kubernetes.io/part-of: ingle
app.kubernetes.io/version: {{ .ctx.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .ctx.Release.Service }}
helm.sh/chart: {{ printf "ingle-%s" .ctx.Chart.Version | replace "+" "_" }}
{{- with .component }}
ingle.dev/component: {{ . }}
{{- end }}
{{- end }}

{{/* Labels of a pod, without what changes with each version: that would replace pods that are the same. */}}
{{- define "ingle.podLabels" -}}
app.kubernetes.io/name: ingle-{{ . }}
app.kubernetes.io/part-of: ingle
ingle.dev/component: {{ . }}
{{- end }}

{{/* Reference of an image. Takes {ctx, image, tag}; tag is the default one. */}}
{{- define "ingle.image" -}}
{{- $repository := .image.repository }}
{{- with .ctx.Values.images.registry }}
{{- $parts := splitList "/" $repository }}
{{- $repository = printf "%s/%s" . (rest $parts | join "/") }}
{{- end }}
{{- if .image.digest }}{{ printf "%s@%s" $repository .image.digest }}
{{- else }}{{ printf "%s:%s" $repository (.image.tag | default .tag) }}
{{- end }}
{{- end }}

{{- define "ingle.ownImage" -}}
{{ include "ingle.image" (dict "ctx" . "image" .Values.images.ingle "tag" .Chart.AppVersion) }}
{{- end }}

{{/* Version of the cluster without what vendors add: v1.35.8-eks-4f4795d is v1.35.8. */}}
{{- define "ingle.clusterVersion" -}}
{{ regexFind "^v[0-9]+[.][0-9]+[.][0-9]+" .Capabilities.KubeVersion.Version | required "images.kubeScheduler.tag: the cluster's version is not known, so name the tag" }}
{{- end }}

{{/* Settings as variables, sorted. Whole numbers come from YAML as floats, which would print as 5.36870912e+08. */}}
{{- define "ingle.settings" -}}
{{- range $name, $value := . }}
- name: INGLE_{{ upper $name }}
{{- if and (kindIs "float64" $value) (eq (floor $value) $value) }}
  value: {{ $value | int64 | quote }}
{{- else }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* What every process of ours reads; it listens on the pod's address. */}}
{{- define "ingle.env" -}}
- name: INGLE_POD_NAME
  valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.name}}
- name: INGLE_POD_UID
  valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.uid}}
- name: INGLE_POD_IP
  valueFrom: {fieldRef: {apiVersion: v1, fieldPath: status.podIP}}
- name: INGLE_NODE_NAME
  valueFrom: {fieldRef: {apiVersion: v1, fieldPath: spec.nodeName}}
- name: INGLE_LISTEN
  value: $(INGLE_POD_IP)
- name: OPENBLAS_NUM_THREADS
  value: "1"
{{- end }}

{{/* All GPUs of the node, for the agent's containers. */}}
{{- define "ingle.allGpus" -}}
{{- if eq .Values.gpus.attach "RuntimeClassEnv" -}}
- name: NVIDIA_VISIBLE_DEVICES
  value: all
- name: NVIDIA_DRIVER_CAPABILITIES
  value: utility
{{- else -}}
- name: NVIDIA_VISIBLE_DEVICES
  value: void
{{- end }}
{{- end }}

{{/* The namespace of our pods. The router has another use of that variable, and none here. */}}
{{- define "ingle.envNamespace" -}}
- name: INGLE_NAMESPACE
  valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}}
{{- end }}

{{/* Clients also come by kubectl port-forward, that is by loopback; all other ports are the pod address's. Envoy's admin
interface has no port: its socket is in the folder that router and Envoy share. */}}
{{- define "ingle.gatewayListen" -}}
- name: INGLE_GATEWAY_LISTEN
  value: 0.0.0.0
- name: INGLE_ENVOY_ADMIN
  value: /tmp/envoy.sock
{{- end }}

{{- define "ingle.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "ingle.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Where pods run. Takes {ctx, part, component}. Away from each other, and from the nodes whose GPUs we hold. */}}
{{- define "ingle.place" -}}
{{- with .part.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .ctx.Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "ingle.spread" -}}
affinity:
  nodeAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      preference:
        matchExpressions:
        - {key: ingle.dev/managed, operator: DoesNotExist}
topologySpreadConstraints:
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {ingle.dev/component: {{ $ }}}
{{- end }}
{{- end }}
