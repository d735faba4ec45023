{{/* A value as TOML on one line. The strings of JSON are also strings of TOML. */}}
{{- define "checkpoint-ready.tomlValue" -}}
{{- if kindIs "slice" . -}}
{{- $items := list -}}
{{- range . -}}
{{- $items = append $items (include "checkpoint-ready.tomlValue" .) -}}
{{- end -}}
[{{ join ", " $items }}]
{{- else if kindIs "map" . -}}
{{- $pairs := list -}}
{{- range $key, $value := . -}}
{{- $pairs = append $pairs (printf "%s = %s" (toJson $key) (include "checkpoint-ready.tomlValue" $value)) -}}
{{- end -}}
{ {{- join ", " $pairs -}} }
{{- else if kindIs "string" . -}}
{{ toJson . }}
{{- else -}}
{{ include "checkpoint-ready.plain" . }}
{{- end -}}
{{- end -}}

{{/*
A map as TOML: its values, then its tables, each with a header. A null is a key that is not set.
Called with (list PATH MAP). PATH is the list of keys of this table; an empty one: the whole file.
*/}}
{{- define "checkpoint-ready.tomlTable" -}}
{{- $path := index . 0 -}}
{{- $table := index . 1 -}}
{{- range $key, $value := $table }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ include "checkpoint-ready.tomlKey" $key }} = {{ include "checkpoint-ready.tomlValue" $value }}
{{- end }}
{{- end }}
{{- range $key, $value := $table }}
{{- if kindIs "map" $value }}
{{- $inner := append $path (include "checkpoint-ready.tomlKey" $key) }}

[{{ join "." $inner }}]
{{- include "checkpoint-ready.tomlTable" (list $inner $value) }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "checkpoint-ready.tomlKey" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ toJson . }}{{ end -}}
{{- end -}}

{{/* The configuration file of `ingest`. */}}
{{- define "checkpoint-ready.ingestToml" -}}
{{- include "checkpoint-ready.tomlTable" (list (list) .Values.ingest.config) | trim -}}
{{- end -}}

{{/* The file of accounts. Called with the accounts. */}}
{{- define "checkpoint-ready.accountsToml" -}}
{{- range $number, $account := . -}}
{{- if $number }}

{{ end -}}
[[accounts]]
{{- include "checkpoint-ready.tomlTable" (list (list "accounts") $account) }}
{{- end -}}
{{- end -}}
