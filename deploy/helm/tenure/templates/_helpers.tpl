{{/* Labels that say which release an object is of. The components have no others, as in deploy/kustomize/components. */}}
{{- define "tenure.release" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "tenure.labels" -}}
app.kubernetes.io/name: tenure
app.kubernetes.io/part-of: tenure
{{ include "tenure.release" . }}
{{- end }}

{{- define "tenure.selector" -}}
app.kubernetes.io/name: tenure
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* What has no namespace needs another name in each release. */}}
{{- define "tenure.domain" -}}
{{- if eq .Release.Name "tenure" }}tenure.dev{{ else }}{{ .Release.Name }}.tenure.dev{{ end }}
{{- end }}

{{- define "tenure.lease" -}}
{{ dig "election" "id" "host.tenure.dev" (fromToml .Values.settings) }}
{{- end }}

{{- define "tenure.pluginNamespaces" -}}
{{ dig "plugins" "namespaces" (list "tenure-plugins") (fromToml .Values.settings) | toJson }}
{{- end }}

{{- define "tenure.listen" -}}
{{ dig "console" "listen" "0.0.0.0:8080" (fromToml .Values.settings) }}
{{- end }}

{{/* A changed setting is another name, and so a rolling update. */}}
{{- define "tenure.settingsName" -}}
{{ .Release.Name }}-{{ sha256sum .Values.settings | trunc 10 }}
{{- end }}

{{/* Whole seconds of a duration (.value), rounded up. */}}
{{- define "tenure.seconds" -}}
{{- if or (not .value) (regexReplaceAll "[0-9]+(ms|s|m|h)" .value "") }}
{{- fail (printf "settings: %s = %q: write it with the units h, m, s and ms, such as \"10s\"" .key .value) }}
{{- end }}
{{- $milliseconds := 0 }}
{{- range regexFindAll "[0-9]+(ms|s|m|h)" .value -1 }}
{{- $unit := regexFind "[a-z]+" . }}
{{- $milliseconds = add $milliseconds (mul (trimSuffix $unit .) (get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000) $unit)) }}
{{- end }}
{{- div (add $milliseconds 999) 1000 }}
{{- end }}

{{/* What the schema cannot see: values that contradict each other, and settings that this chart's objects do not fit. */}}
{{- define "tenure.check" -}}
{{- $settings := fromToml .Values.settings }}
{{- with $settings.Error }}
{{- fail (printf "settings is no TOML: %s" .) }}
{{- end }}
{{- $profile := $settings.profile | default "default" }}
{{- if or (has $profile (list "single" "development")) (not (dig "election" "enabled" true $settings)) }}
{{- fail "settings: this chart is for replicas that elect a leader: leave out election.enabled, and take the profile \"default\", \"fast\" or \"lazy\"" }}
{{- end }}
{{- $lock := dig "election" "namespace" .Release.Namespace $settings }}
{{- if ne $lock .Release.Namespace }}
{{- fail (printf "settings: election.namespace = %q: the Role for the lock is in the release's namespace, %s; leave the key out" $lock .Release.Namespace) }}
{{- end }}
{{- if has .Release.Namespace (include "tenure.pluginNamespaces" . | fromJsonArray) }}
{{- fail (printf "settings: plugins.namespaces has the release's own namespace, %s: whoever may write plugins could change the host; give plugins one of their own" .Release.Namespace) }}
{{- end }}
{{- $listen := include "tenure.listen" . }}
{{- if or (hasPrefix "127." $listen) (hasPrefix "[::1]" $listen) (not (regexMatch ":[1-9][0-9]*$" $listen)) }}
{{- fail (printf "settings: console.listen = %q: the kubelet's probes have to reach it; write \"0.0.0.0:8080\"" $listen) }}
{{- end }}
{{- if dig "cpu" false .Values.resources.limits }}
{{- fail "resources.limits.cpu: leave it out: it throttles the election thread with the rest, and renewals leave late" }}
{{- end }}
{{- $shutdown := include "tenure.seconds" (dict "key" "election.shutdown-grace" "value" (dig "election" "shutdown-grace" "10s" $settings)) | int }}
{{- $write := include "tenure.seconds" (dict "key" "election.write-timeout" "value" (dig "election" "write-timeout" "5s" $settings)) | int }}
{{- $least := add $shutdown $write 5 | int }}
{{- if lt (int .Values.terminationGracePeriodSeconds) $least }}
{{- fail (printf "terminationGracePeriodSeconds: %d is too short for the settings: shutdown-grace %d s + write-timeout %d s + 5 s are %d, and a leader killed earlier cannot release the lease" (int .Values.terminationGracePeriodSeconds) $shutdown $write $least) }}
{{- end }}
{{- end }}
