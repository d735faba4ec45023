{{/*
What is wrong with the values of `ingest` and `poll`. Each template returns JSON: {problems: [TEXT]}.

The rules about the two configuration files are those of the programs, so that Helm refuses what would end a
process at its start.
*/}}

{{/* The problems that both have. Called with (list $ COMPONENT). */}}
{{- define "checkpoint-ready.bridgeProblems" -}}
{{- $v := (index . 0).Values -}}
{{- $component := index . 1 -}}
{{- $bridge := get $v $component -}}
{{- $problems := list -}}
{{- if and $bridge.topic (not (has $bridge.topic $v.topics.inputs)) -}}
{{- $problems = append $problems (printf "%s.topic is %s, which the service does not read: choose one of topics.inputs (%s)." $component $bridge.topic (join ", " $v.topics.inputs)) -}}
{{- end -}}
{{- if $bridge.kafka.existingSecret -}}
{{- if $v.strimzi.enabled -}}
{{- $problems = append $problems (printf "with strimzi.enabled, Strimzi creates a user for %s: leave %s.kafka.existingSecret empty." $component $component) -}}
{{- else if include "checkpoint-ready.hasOauthbearer" (index . 0) -}}
{{- $problems = append $problems (printf "%s.kafka.existingSecret has no effect with kafka.sasl.mechanism OAUTHBEARER, with which %s logs in as the service: unset it." $component $component) -}}
{{- else if not (include "checkpoint-ready.hasSasl" (index . 0)) -}}
{{- $problems = append $problems (printf "%s.kafka.existingSecret is only for kafka.securityProtocol SASL_SSL or SASL_PLAINTEXT: unset it." $component) -}}
{{- end -}}
{{- end -}}
{{- if $bridge.kafka.clientSecret -}}
{{- if $v.strimzi.enabled -}}
{{- $problems = append $problems (printf "with strimzi.enabled, Strimzi creates a user for %s: leave %s.kafka.clientSecret empty." $component $component) -}}
{{- else if not $v.kafka.tls.clientSecret -}}
{{- $problems = append $problems (printf "%s.kafka.clientSecret replaces kafka.tls.clientSecret, which is not set: set both or none." $component) -}}
{{- end -}}
{{- end -}}
{{- range uniq (splitList "\n" (include (printf "checkpoint-ready.%sFiles" $component) $v | trim)) -}}
{{- $name := trimPrefix "/etc/checkpoint-ready/secrets/" . -}}
{{- if . -}}
{{- if or (not (hasPrefix "/etc/checkpoint-ready/secrets/" .)) (not $name) -}}
{{- $problems = append $problems (printf "%s names the file %s: secrets are in the folder /etc/checkpoint-ready/secrets, each by its name in %s.secretFiles." $component . $component) -}}
{{- else if not (hasKey $bridge.secretFiles $name) -}}
{{- $problems = append $problems (printf "%s names the file %s, but %s.secretFiles has no %s: add it, with its Secret and key." $component . $component $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson (dict "problems" $problems) -}}
{{- end -}}

{{/* The files with secrets that the configuration names, one in each line. Called with the values. */}}
{{- define "checkpoint-ready.ingestFiles" -}}
{{- range .ingest.config.checkpoints.token_files }}
{{ . }}
{{- end }}
{{- range .ingest.config.webhooks }}
{{- range concat (.token_files | default list) (.secret_files | default list) (.public_key_files | default list) }}
{{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "checkpoint-ready.pollFiles" -}}
{{- include "checkpoint-ready.accountFiles" .poll.accounts -}}
{{- end -}}

{{/* The files with secrets that accounts name, one in each line. Called with the accounts. */}}
{{- define "checkpoint-ready.accountFiles" -}}
{{- range . }}
{{- with .key_file }}
{{ . }}
{{- end }}
{{- range .header_files }}
{{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "checkpoint-ready.ingestProblems" -}}
{{- $v := .Values -}}
{{- $ingest := $v.ingest -}}
{{- $config := $ingest.config -}}
{{- $limits := $config.limits -}}
{{- $senders := $config.checkpoints -}}
{{- $problems := list -}}

{{- /* The configuration file */ -}}
{{- if not (or $senders.token_files $senders.anonymous $config.webhooks) -}}
{{- $problems = append $problems "ingest.enabled needs a sender: set ingest.config.checkpoints.token_files, or add a webhook to ingest.config.webhooks." -}}
{{- end -}}
{{- if and $senders.token_files $senders.anonymous -}}
{{- $problems = append $problems "ingest.config.checkpoints has token_files and anonymous: keep one." -}}
{{- end -}}
{{- if lt (float64 $limits.memory_bytes) (mulf 2 $limits.body_bytes) -}}
{{- $problems = append $problems "ingest.config.limits.memory_bytes must be at least twice body_bytes: raise it." -}}
{{- end -}}
{{- if gt (float64 $limits.requests) (float64 $limits.connections) -}}
{{- $problems = append $problems "ingest.config.limits.requests must not be more than connections: lower it." -}}
{{- end -}}
{{- if lt (float64 $limits.shutdown_seconds) (addf $limits.request_seconds $limits.delivery_seconds) -}}
{{- $problems = append $problems "ingest.config.limits.shutdown_seconds must be at least request_seconds plus delivery_seconds: raise it." -}}
{{- end -}}
{{- range $name, $webhook := $config.webhooks -}}
{{- if and $webhook.timestamp_header (not (has $webhook.timestamp_header ($webhook.signed_headers | default list))) -}}
{{- $problems = append $problems (printf "ingest.config.webhooks.%s.timestamp_header must be one of its signed_headers: add it." $name) -}}
{{- end -}}
{{- if and (eq $webhook.kind "standard-webhooks") (not (or $webhook.secret_files $webhook.public_key_files)) -}}
{{- $problems = append $problems (printf "ingest.config.webhooks.%s needs secret_files or public_key_files: set one." $name) -}}
{{- end -}}
{{- if $webhook.account -}}
{{- if $webhook.checkpoint -}}
{{- $problems = append $problems (printf "ingest.config.webhooks.%s has account and checkpoint: keep one." $name) -}}
{{- end -}}
{{- $isKnown := false -}}
{{- range $v.poll.accounts -}}
{{- if eq .name $webhook.account -}}
{{- $isKnown = true -}}
{{- if ne .kind "openai" -}}
{{- $problems = append $problems (printf "ingest.config.webhooks.%s.account is %s, which has the kind %s: only openai sends events of jobs." $name .name .kind) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not $isKnown -}}
{{- $problems = append $problems (printf "ingest.config.webhooks.%s.account is %s, which is not in poll.accounts: add the account there. It is not polled unless poll.enabled." $name $webhook.account) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $triggered := get (fromJson (include "checkpoint-ready.triggeredAccounts" .)) "accounts" -}}
{{- if and $triggered (not $v.poll.enabled) -}}
{{- $problems = concat $problems (get (fromJson (include "checkpoint-ready.accountProblems" $triggered)) "problems") -}}
{{- end -}}
{{- range uniq (splitList "\n" (include "checkpoint-ready.accountFiles" $triggered | trim)) -}}
{{- $file := trimPrefix "/etc/checkpoint-ready/secrets/" . -}}
{{- if and . (not $v.poll.enabled) (not (hasKey $v.poll.secretFiles $file)) -}}
{{- $problems = append $problems (printf "poll.accounts names the file %s, but poll.secretFiles has no %s: add it, with its Secret and key." . $file) -}}
{{- end -}}
{{- if and (hasKey $ingest.secretFiles $file) (hasKey $v.poll.secretFiles $file) (ne (toJson (get $ingest.secretFiles $file)) (toJson (get $v.poll.secretFiles $file))) -}}
{{- $problems = append $problems (printf "ingest.secretFiles and poll.secretFiles have different files %s, and the receiver needs both: rename one." $file) -}}
{{- end -}}
{{- end -}}

{{- /* Kubernetes */ -}}
{{- if eq (int $config.port) (int $v.httpPort) -}}
{{- $problems = append $problems (printf "ingest.config.port and httpPort are both %d: change one." (int $v.httpPort)) -}}
{{- end -}}
{{- if and (not $ingest.topic) (gt (len $v.topics.inputs) 1) -}}
{{- $problems = append $problems (printf "topics.inputs has several topics: set ingest.topic to one of them (%s)." (join ", " $v.topics.inputs)) -}}
{{- end -}}
{{- if and $ingest.ingress.enabled $ingest.httpRoute.enabled -}}
{{- $problems = append $problems "ingest.ingress.enabled and ingest.httpRoute.enabled would publish the receiver twice: disable one of them." -}}
{{- end -}}
{{- if and $ingest.ingress.enabled (not $ingest.ingress.hosts) -}}
{{- $problems = append $problems "ingest.ingress.enabled needs ingest.ingress.hosts, the names at which senders reach the receiver." -}}
{{- end -}}
{{- if and $ingest.httpRoute.enabled (not $ingest.httpRoute.parentRefs) -}}
{{- $problems = append $problems "ingest.httpRoute.enabled needs ingest.httpRoute.parentRefs, the Gateway: [{name: NAME}]." -}}
{{- end -}}
{{- if $ingest.hpa.enabled -}}
{{- if not (kindIs "invalid" $ingest.replicas) -}}
{{- $problems = append $problems "ingest.hpa.enabled sets the number of processes: leave ingest.replicas empty." -}}
{{- end -}}
{{- if gt (int $ingest.hpa.minReplicas) (int $ingest.hpa.maxReplicas) -}}
{{- $problems = append $problems (printf "ingest.hpa.minReplicas is %d, above the %d of ingest.hpa.maxReplicas: lower it." (int $ingest.hpa.minReplicas) (int $ingest.hpa.maxReplicas)) -}}
{{- end -}}
{{- $sizes := $ingest.resources | default dict -}}
{{- if not (or (dig "requests" "cpu" "" $sizes) (dig "limits" "cpu" "" $sizes)) -}}
{{- $problems = append $problems "ingest.hpa.enabled scales by the percentage of ingest.resources.requests.cpu, which is not set: set it." -}}
{{- end -}}
{{- end -}}
{{- if and $ingest.podDisruptionBudget.enabled (regexMatch "^0+%?$" (toString $ingest.podDisruptionBudget.maxUnavailable)) -}}
{{- $problems = append $problems "with ingest.podDisruptionBudget.maxUnavailable=0 no node can be drained: set it to 1 or more." -}}
{{- end -}}
{{- toJson (dict "problems" $problems) -}}
{{- end -}}

{{- define "checkpoint-ready.pollProblems" -}}
{{- if .Values.poll.accounts -}}
{{- include "checkpoint-ready.accountProblems" .Values.poll.accounts -}}
{{- else -}}
{{- toJson (dict "problems" (list "poll.enabled needs poll.accounts: add an account.")) -}}
{{- end -}}
{{- end -}}

{{/* The problems of accounts. Called with the accounts. */}}
{{- define "checkpoint-ready.accountProblems" -}}
{{- $problems := list -}}
{{- $names := list -}}
{{- range . -}}
{{- $account := printf "poll.accounts, %s" .name -}}
{{- if has .name $names -}}
{{- $problems = append $problems (printf "%s: another account has this name: change one." $account) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- if not (or .key_file .header_files) -}}
{{- $problems = append $problems (printf "%s: set key_file to the file of the API key, or set header_files." $account) -}}
{{- end -}}
{{- range $header, $_ := merge (dict) (.headers | default dict) (.header_files | default dict) -}}
{{- if regexMatch "(?i)^(connection|content-length|expect|host|keep-alive|te|trailer|transfer-encoding|upgrade)$" $header -}}
{{- $problems = append $problems (printf "%s: the header %s belongs to the HTTP client: remove it." $account $header) -}}
{{- end -}}
{{- end -}}
{{- range $header, $_ := .headers -}}
{{- if regexMatch "(?i)(authorization|key|token|secret|cookie|password)" $header -}}
{{- $problems = append $problems (printf "%s: the header %s holds a secret, which must not be in a ConfigMap: move it to header_files." $account $header) -}}
{{- end -}}
{{- end -}}
{{- if and (eq .kind "fireworks") (not .base_url) -}}
{{- $problems = append $problems (printf "%s: set base_url to https://api.fireworks.ai/v1/accounts/ and your account." $account) -}}
{{- end -}}
{{- if and (eq .kind "tinker") (or (hasKey . "created_after") (hasKey . "created_within_days")) -}}
{{- $problems = append $problems (printf "%s: a run of Tinker has no time of creation: unset created_after and created_within_days." $account) -}}
{{- end -}}
{{- $url := .base_url | default "" -}}
{{- $host := regexReplaceAll "(:[0-9]+)?(/.*)?$" (trimPrefix "http://" $url) "" -}}
{{- if and (hasPrefix "http://" $url) (not .allow_http) (not (has $host (list "localhost" "127.0.0.1" "[::1]"))) -}}
{{- $problems = append $problems (printf "%s: base_url must be https, or set allow_http: true." $account) -}}
{{- end -}}
{{- end -}}
{{- toJson (dict "problems" $problems) -}}
{{- end -}}
