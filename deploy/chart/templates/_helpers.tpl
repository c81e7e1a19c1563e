{{- define "harness.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "harness.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "harness.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The name of the ConfigMap with the settings file; empty if there is none. */}}
{{- define "harness.configMap" -}}
{{- if and .Values.config .Values.existingConfigMap }}
{{- fail "config and existingConfigMap are both set; keep one of them" }}
{{- end }}
{{- if .Values.config }}{{ include "harness.name" . }}-settings{{ else }}{{ .Values.existingConfigMap }}{{ end }}
{{- end }}

{{/* The options of master and workers that describe the target. */}}
{{- define "harness.targetArgs" -}}
{{- if .Values.target.url }}
- {{ printf "--target=%s" .Values.target.url | quote }}
{{- end }}
{{- if include "harness.configMap" . }}
- --config=/etc/agent-run-harness/harness.toml
{{- end }}
{{- if .Values.token.existingSecret }}
- --token-file=/run/secrets/agent-run-harness/token
{{- end }}
{{- if .Values.locustfile.existingConfigMap }}
- {{ printf "--locustfile=/etc/locust/%s" .Values.locustfile.name | quote }}
{{- end }}
{{- end }}

{{- define "harness.workerArgs" -}}
- worker
- --master={{ include "harness.name" . }}-master
{{- include "harness.targetArgs" . }}
{{- end }}

{{- define "harness.masterArgs" -}}
- load
- --workers={{ .Values.workers.count }}
{{- include "harness.targetArgs" . }}
{{- if .Values.otlp.endpoint }}
- {{ printf "--otlp-endpoint=%s" .Values.otlp.endpoint | quote }}
{{- end }}
{{- if .Values.otlp.tracesEndpoint }}
- {{ printf "--otlp-traces-endpoint=%s" .Values.otlp.tracesEndpoint | quote }}
{{- end }}
{{- end }}

{{/* The part of a pod that all have. Argument: the root, and the role: master or worker. */}}
{{- define "harness.pod" -}}
{{- $root := .root -}}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: 60
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $root.Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- with $root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if eq .role "worker" }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "harness.selector" $root | nindent 8 }}
        app.kubernetes.io/component: worker
{{- end }}
volumes:
  - name: tmp
    emptyDir: {}
  {{- if eq .role "master" }}
  - name: results
    {{- if $root.Values.results.existingClaim }}
    persistentVolumeClaim:
      claimName: {{ $root.Values.results.existingClaim }}
    {{- else }}
    emptyDir: {}
    {{- end }}
  {{- end }}
  {{- with include "harness.configMap" $root }}
  - name: settings
    configMap:
      name: {{ . }}
  {{- end }}
  {{- with $root.Values.token.existingSecret }}
  - name: token
    secret:
      secretName: {{ . }}
      defaultMode: 288 # 0440
      items:
        - key: {{ $root.Values.token.key }}
          path: token
  {{- end }}
  {{- with $root.Values.locustfile.existingConfigMap }}
  - name: locustfiles
    configMap:
      name: {{ . }}
  {{- end }}
{{- end }}

{{/* The part of the container that all have. Argument: the root, and the role. */}}
{{- define "harness.container" -}}
{{- $root := .root -}}
{{- $size := eq .role "master" | ternary $root.Values.master $root.Values.workers -}}
image: "{{ $root.Values.image.repository }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}"
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  requests:
    cpu: {{ $size.cpu | quote }}
    memory: {{ $size.memory | quote }}
  limits:
    cpu: {{ $size.cpu | quote }}
    memory: {{ $size.memory | quote }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- if eq .role "master" }}
  - name: results
    mountPath: /results
  {{- end }}
  {{- if include "harness.configMap" $root }}
  - name: settings
    mountPath: /etc/agent-run-harness
    readOnly: true
  {{- end }}
  {{- if $root.Values.token.existingSecret }}
  - name: token
    mountPath: /run/secrets/agent-run-harness
    readOnly: true
  {{- end }}
  {{- if $root.Values.locustfile.existingConfigMap }}
  - name: locustfiles
    mountPath: /etc/locust
    readOnly: true
  {{- end }}
{{- end }}

{{- define "harness.podMetadata" -}}
labels:
  {{- include "harness.labels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .role }}
  {{- with .root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .root.Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
